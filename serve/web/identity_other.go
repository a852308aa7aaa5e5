//go:build !linux

package web

import "io/fs"

// fill knows nothing more here: size and time have to do.
func (id *identity) fill(fs.FileInfo) {}
