//! Rigs for the end-to-end tests and the demo: hosts in network namespaces, real databases.
