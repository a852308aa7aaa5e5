package web

import (
	"io"
	"net/http"
	"time"
)

// chunk is what is handed to the kernel at once; after each, the time for the
// next is set and progress is told.
const chunk = 1 << 20

// sender is a response that a client must not take forever for. It counts the
// body and hands files on as they are, so that net/http uses sendfile.
type sender struct {
	http.ResponseWriter
	control *http.ResponseController
	limits  Limits

	status  int
	written int64
	late    bool             // a deadline was set and missed
	begin   func(status int) // before the header is sent; may be nil
	more    func(sent int64) // after each chunk; may be nil
}

func newSender(w http.ResponseWriter, l Limits) *sender {
	s := &sender{ResponseWriter: w, control: http.NewResponseController(w), limits: l}
	s.extend(0)
	return s
}

// extend gives the client the time for n more bytes.
func (s *sender) extend(n int64) time.Time {
	t := time.Now().Add(s.limits.Stall + time.Duration(float64(n)/float64(s.limits.MinRate)*float64(time.Second)))
	_ = s.control.SetWriteDeadline(t) // recorders in tests have none
	return t
}

func (s *sender) WriteHeader(status int) {
	if s.status == 0 && status >= 200 {
		s.status = status
		if s.begin != nil {
			s.begin(status)
		}
	}
	s.ResponseWriter.WriteHeader(status)
}

func (s *sender) Write(p []byte) (int, error) {
	if s.status == 0 {
		s.WriteHeader(http.StatusOK)
	}
	deadline := s.extend(int64(len(p)))
	n, err := s.ResponseWriter.Write(p)
	s.count(int64(n), err, deadline)
	return n, err
}

// ReadFrom takes what http.ServeContent sends: a limited file.
func (s *sender) ReadFrom(src io.Reader) (total int64, err error) {
	limited, ok := src.(*io.LimitedReader)
	if !ok {
		return io.Copy(struct{ io.Writer }{s}, src)
	}
	if s.status == 0 {
		s.WriteHeader(http.StatusOK)
	}
	for limited.N > 0 {
		n := min(limited.N, chunk)
		deadline := s.extend(n)
		sent, err := io.CopyN(s.ResponseWriter, limited.R, n)
		limited.N -= sent
		total += sent
		s.count(sent, err, deadline)
		if err == io.EOF { // the file is shorter than it was
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func (s *sender) count(n int64, err error, deadline time.Time) {
	s.written += n
	if err != nil && !time.Now().Before(deadline) {
		s.late = true
	}
	if s.more != nil {
		s.more(s.written)
	}
}

// Unwrap lets http.ResponseController find the connection.
func (s *sender) Unwrap() http.ResponseWriter { return s.ResponseWriter }
