//! User code: error handlers and what they decide.
