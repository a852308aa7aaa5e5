package web

import (
	"io/fs"
	"syscall"
)

// fill adds what tells a file from another that later has its name.
func (id *identity) fill(info fs.FileInfo) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return
	}
	id.dev, id.ino, id.ctime = uint64(st.Dev), st.Ino, st.Ctim.Nano()
}
