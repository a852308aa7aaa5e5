// Package kconfig understands how a Linux kernel is configured, without
// running anything of it.
//
// In: a .config or defconfig (Parse), a kernel's Kconfig files (ParseTree) and
// its Makefiles (ParseMakefiles), from an fs.FS or from a tar (ReadTar). Out:
// what two configurations differ in (Diff); why a symbol has not the value
// that somebody asked for (Tree.Why): which dependency is not met, what value
// it has and where that is written; which symbols build a driver
// (Modules.Find); and what else has to be on for that (Tree.Enable).
//
// The kernel's own olddefconfig decides what a configuration becomes; this
// package only explains it afterwards. So it does not run the compiler:
// $(cc-option,...) and the like are neither yes nor no, and nothing is claimed
// that hangs on them.
//
// Open config.go first, then tree.go (what a Kconfig file says), parse.go and
// why.go. The language: Documentation/kbuild/kconfig-language.rst,
// kconfig-macro-language.rst and makefiles.rst in the kernel's source.
package kconfig
