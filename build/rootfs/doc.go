// Package rootfs turns image layers into one file tree.
//
// In: uncompressed layer tars with random access (Index, or Load for a layer
// that was indexed before). Out: a Tree, the file system that the layers
// describe: whiteouts, opaque directories, hard links, owners and implied
// parents resolved, ready to be written parents first. Contents stay in the
// tars and are read when they are needed, so memory grows with the number of
// files and not with their size. The package knows tar and the OCI layer
// rules, not cpio.
//
// Open tree.go first, then flatten.go.
package rootfs
