//! Documents applied to a folder that stands for a node.
