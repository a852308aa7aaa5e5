package zstdlong

import "golang.org/x/sys/unix"

// advise asks for large pages: the window and the tables are read here and
// there, and with small ones a twentieth of the time is spent on finding them.
// Without, all works as well.
func advise(b []byte) { _ = unix.Madvise(b, unix.MADV_HUGEPAGE) }
