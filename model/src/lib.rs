//! Stead's centre: domain types, the four ports and their contracts, the hold protocol.
