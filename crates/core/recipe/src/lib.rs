//! muster-recipe
