// Package kernel opens a Linux kernel and decides which of its modules an
// initramfs carries.
//
// In: the unpacked tree of a Debian linux-image package (OpenDebian) or of a
// LinuxKit kernel image (OpenLinuxKit), as an fs.FS; a Policy that names
// groups of modules (configs/modules.yaml). Out: a Kernel, whose image has
// been looked into and fits its modules; an Index of what every module says
// of itself, fit to be cached; a Selection, which is the modules to keep,
// closed over what they need, with the files that depmod would write and the
// firmware that they ask for.
//
// The image and the modules are used as they are, byte by byte: Secure Boot
// signatures stay intact, and modules stay compressed (.ko.xz), because the
// kernel unpacks them itself and decompressed ones cost five times the RAM.
//
// Open kernel.go first, then index.go, select.go and depmod.go.
package kernel
