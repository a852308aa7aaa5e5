// Package fetchtest has servers that break off, for tests of downloads.
package fetchtest

import (
	"fmt"
	"net/http"
)

// Piece answers a request for body, or for a range of it from an offset on,
// with at most n bytes, and breaks off if that is not all.
func Piece(w http.ResponseWriter, r *http.Request, body []byte, n int) {
	from := 0
	_, _ = fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from)
	w.Header().Set("Content-Length", fmt.Sprint(len(body)-from))
	if from > 0 {
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, len(body)-1, len(body)))
		w.WriteHeader(http.StatusPartialContent)
	}
	_, _ = w.Write(body[from:min(from+n, len(body))])
	w.(http.Flusher).Flush()
	if from+n < len(body) {
		panic(http.ErrAbortHandler)
	}
}
