// Package kernelconfig is what `hooksmith kernel-config` does with a kernel's
// configuration: change it in a workspace of kernel/compile, which is a copy
// (session.go, edit.go), say why a change did not stick (stuck.go), and write
// it back (file.go), unless somebody else changed it meanwhile. Which file that
// is, is the command's to say.
package kernelconfig
