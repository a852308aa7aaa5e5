package zstdlong

import "unsafe"

const hugePage = 2 << 20

// allocate returns n bytes that begin with a large page, if they are as many.
func allocate(n int) []byte {
	if n < hugePage {
		return make([]byte, n)
	}
	b := make([]byte, n+hugePage)
	b = b[-uintptr(unsafe.Pointer(&b[0]))&(hugePage-1):][:n:n]
	advise(b[:n&^(hugePage-1)])
	return b
}

// tables returns a table of n entries and one of m, for which large pages are
// asked too.
func tables(n, m int) (_, _ []seen) {
	const size = int(unsafe.Sizeof(seen{}))
	b := allocate((n + m) * size)
	t := unsafe.Slice((*seen)(unsafe.Pointer(&b[0])), n+m) // seen has no pointers
	return t[:n:n], t[n:]
}
