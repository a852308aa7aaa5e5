// Package initramfs writes a rootfs.Tree as what the Linux kernel unpacks:
// newc cpio archives, each compressed on its own, one after the other
// (Documentation/driver-api/early-userspace/buffer-format.rst). Read takes
// such a file apart again, by the kernel's rules.
//
// In: segments, each a tree and a way to compress it. Out: one file, and per
// segment its place, sizes and hash. The bytes depend on nothing but the
// segments, and on which of them were streamed: not on the number of
// processors, the user, the clock, the cache or the folder for temporary files.
//
// Open segment.go first, then cpio.go. Segments that are compressed before all
// trees are there are in ahead.go, those without any tree yet in stream.go.
package initramfs
