//! Requests and responses as bytes: read strictly, written anew; bodies judged while they pass.
//!
//! Pure, and it knows nothing of profiles, workers or answers: fuzz targets include this folder as it is.

// With their paths, because the fuzz targets include this file without the rest of the crate.
#[path = "wire/body.rs"]
pub(crate) mod body;
#[path = "wire/chunked.rs"]
pub(crate) mod chunked;
#[path = "wire/error.rs"]
pub(crate) mod error;
#[path = "wire/head.rs"]
pub(crate) mod head;
#[path = "wire/private.rs"]
pub(crate) mod private;
#[path = "wire/request.rs"]
pub(crate) mod request;
#[path = "wire/response.rs"]
pub(crate) mod response;
