//! Steps on a folder that stands for a node.
