// Package configs is the data that hooksmith carries: flavors, LinuxKit
// templates, the policy for kernel modules, image definitions (images) and the
// keys of the Debian archive (keyrings). No code reads it
// but through FS.
package configs

import "embed"

// FS holds the files of this folder.
//
//go:embed *.yaml version.txt images/*.yaml keyrings/*.asc keyrings/kernel/*.asc
var FS embed.FS
