//! One member alone, and whatever others might say to it.

mod failure;
mod lone;
mod serf;
mod streams;
