//! The way to other chats, as far as tools know it.

use std::future::Future;
use std::pin::Pin;

/// A chat that can be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    /// Its platform.
    pub platform: String,
    /// Its id there.
    pub chat_id: String,
    /// A thread in it.
    pub thread_id: Option<String>,
    /// What it is called.
    pub name: Option<String>,
    /// `dm`, `group`, …; empty where nobody knows.
    pub kind: String,
    /// It is the one that is meant where only the platform is named.
    pub is_home: bool,
}

/// A boxed future of the post.
pub type PostFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// Takes messages to other chats. Errors are for the model.
pub trait Post: Send + Sync {
    /// Whether there is any way out.
    fn is_any(&self) -> bool;

    /// The chats that can be written to: those that are configured, and those that have written here.
    fn chats(&self) -> PostFuture<'_, Vec<Chat>>;

    /// Takes a message over: from then on it is sent until it is there, whatever becomes of this process. The same `call` of the same
    /// session is the same message. `false`: it was taken over before.
    fn send<'a>(
        &'a self,
        session: &'a str,
        call: &'a str,
        to: &'a Chat,
        text: &'a str,
    ) -> PostFuture<'a, bool>;
}
