// Package initramfs writes a rootfs.Tree as what the Linux kernel unpacks:
// newc cpio segments, each compressed on its own, one after the other.
//
// Open segment.go first, then cpio.go.
package initramfs
