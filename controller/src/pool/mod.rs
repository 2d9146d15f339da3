//! The pool: volumes as sparse image files in one directory.
