// Package embedded holds the guest program of every architecture inside hooksmith.
//
// `make guest` builds guest-linux-amd64 and guest-linux-arm64 into this folder before it builds hooksmith; they are not
// in git. Without them everything compiles, and a build that needs one fails with fs.ErrNotExist.
package embedded

import (
	"embed"
	"io/fs"
)

// All files, because a pattern that matches nothing does not compile.
//
//go:embed *
var files embed.FS

// FS has the static programs guest-linux-amd64 and guest-linux-arm64, if they
// were built before this package.
func FS() fs.FS { return files }
