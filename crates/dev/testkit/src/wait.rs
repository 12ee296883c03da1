//! Waiting for something to be true, never for time to pass.

use std::time::{Duration, Instant};

/// Asks again, with growing pauses, until there is an answer. Panics with `what` after `timeout`.
pub fn wait_for<T>(what: &str, timeout: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < timeout, "waited {:.1} s for {what}", start.elapsed().as_secs_f64());
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_ends_the_wait() {
        let mut asked = 0;
        let answer = wait_for("the third question", Duration::from_secs(10), || {
            asked += 1;
            (asked == 3).then_some("yes")
        });
        assert_eq!((answer, asked), ("yes", 3));
    }

    #[test]
    fn the_panic_says_what_was_waited_for() {
        let waiting = || wait_for("rain", Duration::from_millis(5), || None::<()>);
        let panic = std::panic::catch_unwind(waiting).unwrap_err();
        let text = panic.downcast_ref::<String>().unwrap();
        assert!(text.starts_with("waited 0.0 s for rain"), "{text}");
    }
}
