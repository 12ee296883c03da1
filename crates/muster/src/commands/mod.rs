//! One file a command: its arguments, and what it does.

pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod drift;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod image;
pub(crate) mod image_worker;
pub(crate) mod import;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod node;
pub(crate) mod node_init;
pub(crate) mod nodes;
pub(crate) mod plan;
pub(crate) mod recipe;
pub(crate) mod reference;
pub(crate) mod render;
pub(crate) mod scale;
pub(crate) mod setup_links;
pub(crate) mod shell;
pub(crate) mod shepherd;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod up;
pub(crate) mod validate;
