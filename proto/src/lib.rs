//! The edge: csi.v1 and stead.v1 on the wire, conversion to the domain, the one mapping of errors to gRPC codes.
