package bootkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"hooksmith/guest/dockerd/engine"
)

// TestNetworkWhileStarting has the network come up at the one moment that a real docker never hits when asked to: while
// a worker, or a worker that ended, is being started. Its resolv.conf is that of before, so it must be restarted.
func TestNetworkWhileStarting(t *testing.T) {
	for _, endsFirst := range []bool{false, true} {
		t.Run(fmt.Sprintf("ends first %v", endsFirst), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			dir := t.TempDir()
			status := filepath.Join(dir, "status.json")
			tell := func(state string) {
				err := errors.Join(os.WriteFile(status+".new", []byte(`{"state": "`+state+`"}`), 0o644), os.Rename(status+".new", status))
				if err != nil {
					t.Error(err)
				}
			}
			tell("waiting")

			mux := http.NewServeMux()
			mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") })
			mux.HandleFunc("/containers/create", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, `{"Id": "one"}`) })
			starts := 0
			mux.HandleFunc("/containers/one/start", func(http.ResponseWriter, *http.Request) {
				if starts++; starts == 2 || !endsFirst {
					tell("up")
				}
			})
			waits := 0
			mux.HandleFunc("/containers/one/wait", func(w http.ResponseWriter, r *http.Request) {
				if waits++; waits > 1 || !endsFirst {
					<-r.Context().Done()
				}
				io.WriteString(w, `{"StatusCode": 1}`)
			})
			restarted := make(chan bool, 1)
			mux.HandleFunc("/containers/one/restart", func(http.ResponseWriter, *http.Request) { restarted <- true })
			b := &bootkit{docker: serveDocker(t, dir, mux), network: status, log: log.New(io.Discard, "", 0)}
			b.config.image = embeddedPrefix + "worker"

			ended := make(chan error, 1)
			go func() { ended <- b.run(ctx) }()
			select {
			case <-restarted:
			case err := <-ended:
				t.Fatalf("bootkit ended: %v", err)
			case <-time.After(60 * time.Second):
				t.Error("the worker was not restarted")
			}
			cancel()
			<-ended
		})
	}
}

// serveDocker is a client of a docker that answers as the handler does.
func serveDocker(t *testing.T, dir string, handler http.Handler) *engine.Client {
	t.Helper()
	socket := filepath.Join(dir, "docker.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return engine.New(socket)
}
