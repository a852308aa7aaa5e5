// Command embedded stands in for a worker and for the action that it starts:
// as the worker it runs the image of its first argument through Docker's
// socket, and tells on the console what that printed; as "action" it tells
// what its file system looks like.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	if os.Args[1] == "action" {
		action()
		return
	}
	// The worker is privileged and has the host's /dev, so the console can be
	// written.
	out := io.Writer(os.Stdout)
	if console, err := os.OpenFile("/dev/console", os.O_WRONLY, 0); err == nil {
		out = io.MultiWriter(out, console)
	}
	fmt.Fprintln(out, "embedded worker: started")
	text, err := run(os.Args[1])
	for line := range strings.Lines(text) {
		fmt.Fprintf(out, "embedded worker: %s\n", strings.TrimRight(line, "\r\n"))
	}
	fmt.Fprintf(out, "embedded worker: finished: %v\n", err)
}

// action lists the files of /test: mode, owner, device, attributes, content.
func action() {
	fmt.Println("action: started")
	_ = filepath.WalkDir("/test", func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(path, &st); err != nil {
			return err
		}
		content := ""
		if e.Type().IsRegular() {
			b, _ := os.ReadFile(path)
			content = string(b)
		}
		value := make([]byte, 100)
		n, _ := syscall.Getxattr(path, "security.capability", value)
		fmt.Printf("action: %s %o %d:%d names %d %q %x\n", path, st.Mode, st.Uid, st.Gid, st.Nlink, content, value[:max(n, 0)])
		return nil
	})
	fmt.Println("action: finished")
}

var docker = http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
	return net.Dial("unix", "/var/run/docker.sock")
}}}

// ask is one request to Docker.
func ask(method, path, body string, into any) (string, error) {
	request, err := http.NewRequest(method, "http://docker"+path, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	answer, err := docker.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= 400 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, b)
	}
	if err == nil && into != nil {
		err = json.Unmarshal(b, into)
	}
	return string(b), err
}

// run runs a container and returns what it printed.
func run(image string) (string, error) {
	var created struct{ ID string }
	if _, err := ask("POST", "/containers/create", fmt.Sprintf(`{"Image":%q,"Tty":true}`, image), &created); err != nil {
		return "", err
	}
	if _, err := ask("POST", "/containers/"+created.ID+"/start", "", nil); err != nil {
		return "", err
	}
	if _, err := ask("POST", "/containers/"+created.ID+"/wait", "", nil); err != nil {
		return "", err
	}
	return ask("GET", "/containers/"+created.ID+"/logs?stdout=1&stderr=1", "", nil)
}
