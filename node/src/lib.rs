//! CSI Node: devices, file systems and mounts.
