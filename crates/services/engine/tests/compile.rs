//! From cluster files to what nodes are given, and what is said about files that are wrong.

mod compile {
    mod any;
    mod bad;
    mod common;
    mod good;
    mod guide;
    mod import;
    mod occopus;
    mod recipes;
    mod relations;
    mod speed;
}
