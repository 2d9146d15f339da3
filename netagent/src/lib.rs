//! Addresses, announcements and names of the members that a node holds.
