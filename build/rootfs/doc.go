// Package rootfs turns image layers into one file tree.
//
// In: uncompressed layer tars with random access (Index). Out: a Tree, the
// file system that the layers describe: whiteouts, opaque directories, hard
// links, owners and implied parents resolved, ready to be written parents
// first. The package knows tar and the OCI layer rules, not cpio.
//
// Open tree.go first, then flatten.go.
package rootfs
