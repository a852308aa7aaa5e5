// Package rootof gives the root file system, as an fs.FS, of whatever holds a
// kernel's modules: an initramfs, an output folder, a folder, a tar of files, a
// LinuxKit kernel image as folder, OCI layout or archive (docker save), or a
// container image. Of an initramfs only modules, firmware names and modprobe's
// configuration are kept.
//
// What has to be unpacked lies in one temporary folder, which Close removes.
//
// Open rootof.go first.
package rootof
