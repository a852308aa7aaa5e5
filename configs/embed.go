// Package configs is the data that hooksmith carries: flavors, LinuxKit
// templates, the policy for kernel modules, image definitions (images), kernel
// configurations with the fragments that make them (kernel/README.md) and the
// keys of the Debian archive and of kernel.org (keyrings). No code reads it
// but through FS.
package configs

import "embed"

// FS holds the files of this folder.
//
//go:embed *.yaml version.txt images/*.yaml keyrings/*.asc keyrings/kernel/*.asc kernel/*.yaml kernel/*-* kernel/fragments/*.config
var FS embed.FS
