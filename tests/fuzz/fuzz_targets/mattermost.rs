//! What Mattermost says: any bytes are an answer or an event of a sane size, or none.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code)]
#[path = "../../../worker/src/platform/mattermost/wire.rs"]
mod wire;

fn look(post: &wire::Post) {
    assert!(wire::is_id(&post.id) && wire::is_id(&post.channel) && wire::is_id(&post.user));
    assert!(post.root.as_deref().is_none_or(wire::is_id) && post.message.len() <= 64 * 1024);
    assert!(post.files.len() <= 64 && post.files.iter().all(|file| wire::is_id(&file.id)));
}

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        if let Some((_, wire::Frame::Posted(posted))) = wire::frame(text) {
            look(&posted.post);
            assert!(posted.channel_name.len() <= 4096 && posted.sender.len() <= 4096);
        }
        assert!(wire::reset(text, 1_700_000_000).is_none_or(|wait| wait.as_secs() <= 3600));
    }
    if let Ok(found) = wire::posts(data) {
        found.all.iter().for_each(look);
        assert!(found.all.len() + found.odd == found.named && found.all.is_sorted_by_key(|post| post.at));
    }
    assert!(wire::made("posts", data).is_ok_and(|id| wire::is_id(&id)) || wire::made("posts", data).is_err());
    assert!(wire::refusal(500, data, None).id.chars().count() <= 200);
    let _ = wire::answer::<wire::User>("users/me", data);
    let _ = wire::answer::<Vec<wire::Channel>>("channels", data);
});
