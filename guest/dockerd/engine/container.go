package engine

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Spec is a container to create, in the API's own form.
type Spec struct {
	Image      string            `json:"Image"`
	Env        []string          `json:"Env,omitempty"`
	Labels     map[string]string `json:"Labels,omitempty"`
	HostConfig HostConfig        `json:"HostConfig"`
}

// HostConfig is the part of a Spec that concerns the host.
type HostConfig struct {
	Binds       []string   `json:"Binds,omitempty"`  // source:target, a missing source becomes a folder
	Mounts      []Mount    `json:"Mounts,omitempty"` // a missing source is an error
	NetworkMode string     `json:"NetworkMode,omitempty"`
	PidMode     string     `json:"PidMode,omitempty"`
	Privileged  bool       `json:"Privileged"`
	LogConfig   *LogConfig `json:"LogConfig,omitempty"` // nil is the daemon's default
}

// Mount is a bind mount.
type Mount struct {
	Type   string `json:"Type"` // "bind"
	Source string `json:"Source"`
	Target string `json:"Target"`
}

// LogConfig is a log driver.
type LogConfig struct {
	Type   string            `json:"Type"`
	Config map[string]string `json:"Config,omitempty"`
}

// Container is what the daemon knows of one.
type Container struct {
	ID     string `json:"Id"`
	Image  string // the image's id
	Config struct {
		Labels map[string]string
	}
	State struct {
		Running   bool
		ExitCode  int
		Error     string // of the runtime, when it could not start
		OOMKilled bool
	}
}

// Inspect returns the container of that name or id, and whether there is one.
func (c *Client) Inspect(ctx context.Context, name string) (Container, bool, error) {
	var found Container
	err := c.do(ctx, http.MethodGet, "/containers/"+name+"/json", nil, nil, &found)
	if refused := (*Error)(nil); errors.As(err, &refused) && refused.Status == http.StatusNotFound {
		return Container{}, false, nil
	}
	return found, err == nil, err
}

// Create makes a container and returns its id.
func (c *Client) Create(ctx context.Context, name string, spec Spec) (id string, err error) {
	var made struct {
		ID string `json:"Id"`
	}
	err = c.do(ctx, http.MethodPost, "/containers/create", url.Values{"name": {name}}, spec, &made)
	return made.ID, err
}

// Start starts a container; that it runs already is no error.
func (c *Client) Start(ctx context.Context, id string) error {
	err := c.do(ctx, http.MethodPost, "/containers/"+id+"/start", nil, nil, nil)
	if refused := (*Error)(nil); errors.As(err, &refused) && refused.Status == http.StatusNotModified {
		return nil
	}
	return err
}

// Restart stops a container, giving it that many seconds, and starts it again.
func (c *Client) Restart(ctx context.Context, id string, seconds int) error {
	return c.do(ctx, http.MethodPost, "/containers/"+id+"/restart", url.Values{"t": {strconv.Itoa(seconds)}}, nil, nil)
}

// Remove ends and removes a container; that there is none is no error.
func (c *Client) Remove(ctx context.Context, id string) error {
	err := c.do(ctx, http.MethodDelete, "/containers/"+id, url.Values{"force": {"1"}}, nil, nil)
	if refused := (*Error)(nil); errors.As(err, &refused) && refused.Status == http.StatusNotFound {
		return nil
	}
	return err
}

// Wait returns the exit code of a container when it does not run any more.
func (c *Client) Wait(ctx context.Context, id string) (code int, err error) {
	var ended struct {
		StatusCode int
	}
	err = c.do(ctx, http.MethodPost, "/containers/"+id+"/wait", nil, nil, &ended)
	return ended.StatusCode, err
}

// Logs returns the last lines, at most n, of what a container wrote.
func (c *Client) Logs(ctx context.Context, id string, n int) ([]string, error) {
	query := url.Values{"stdout": {"1"}, "stderr": {"1"}, "tail": {strconv.Itoa(n)}}
	answer, err := c.open(ctx, http.MethodGet, "/containers/"+id+"/logs", query, nil, nil)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	return readLogs(answer, n)
}

// maxLogs bounds what is read of a log.
const maxLogs = 1 << 20

// readLogs takes the last n lines out of a log, which comes in frames: a stream's number, three zeros, a big-endian
// length and the text. A container with a terminal has no frames; a text that does not begin like one is taken as it is.
func readLogs(r io.Reader, n int) ([]string, error) {
	buffered := bufio.NewReader(io.LimitReader(r, maxLogs))
	var text bytes.Buffer
	for {
		header, err := buffered.Peek(8)
		if err != nil || header[0] > 2 || header[1]|header[2]|header[3] != 0 {
			_, err = io.Copy(&text, buffered)
			if err != nil {
				return nil, fmt.Errorf("reading the log: %w", err)
			}
			break
		}
		size := int64(binary.BigEndian.Uint32(header[4:]))
		if _, err := buffered.Discard(len(header)); err != nil {
			return nil, fmt.Errorf("reading the log: %w", err)
		}
		if _, err := io.CopyN(&text, buffered, size); err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("reading the log: %w", err)
		}
	}
	lines := strings.FieldsFunc(text.String(), func(r rune) bool { return r == '\n' || r == '\r' })
	return lines[max(0, len(lines)-n):], nil
}
