//go:build !linux

package lease

import "os"

func syncData(f *os.File) error { return f.Sync() }
