// Package engine is a client for the dozen calls of the Docker Engine API that HookOS makes, over dockerd's unix socket.
//
// It is net/http and nothing else. A static program that makes these calls (linux/amd64, -s -w) has 6.19 MB with this
// package and 7.30 MB with github.com/docker/docker v28.5.2, of which net/http alone is 5.84 MB; zstd -9 makes that
// 2.46 and 2.83 MB. Each byte is RAM of every machine, and the other client brings some twenty modules, OpenTelemetry
// among them. The calls name no API version, which makes the daemon take its own: what is used here has been the same
// from 1.24 on.
//
// What the daemon answers is bounded, although it is ours: an image's or a registry's text is in it.
package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// Client talks to one daemon. Its methods may be called at the same time.
type Client struct {
	http *http.Client
}

// New returns a client for the daemon that listens, or will listen, on the unix socket.
func New(socket string) *Client {
	return &Client{http: &http.Client{Transport: &http.Transport{
		// Every call has a connection of its own: the daemon may be another one by then.
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// Error is the daemon's refusal.
type Error struct {
	Status  int    // of HTTP
	Message string // the daemon's own words
}

func (e *Error) Error() string {
	return fmt.Sprintf("docker says: %s", e.Message)
}

// maxAnswer bounds a JSON answer, and a refusal.
const maxAnswer = 4 << 20

// do makes a call. body, if not nil, is sent as JSON; out, if not nil, gets the JSON answer. A status of 300 and above
// is an *Error.
func (c *Client) do(ctx context.Context, method, path string, query url.Values, body, out any) error {
	answer, err := c.open(ctx, method, path, query, nil, body)
	if err != nil {
		return err
	}
	defer answer.Close()
	if out == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(answer, maxAnswer))
	} else {
		err = json.NewDecoder(io.LimitReader(answer, maxAnswer)).Decode(out)
	}
	if err != nil {
		return fmt.Errorf("reading docker's answer to %s %s: %w", method, path, err)
	}
	return nil
}

// open makes a call and returns the body of the answer, which the caller closes.
func (c *Client) open(ctx context.Context, method, path string, query url.Values, header http.Header, body any) (io.ReadCloser, error) {
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("making the call %s %s to docker: %w", method, path, err)
		}
		reader = bytes.NewReader(text)
	}
	u := url.URL{Scheme: "http", Host: "docker", Path: path, RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, method, u.String(), reader)
	if err != nil {
		return nil, fmt.Errorf("making the call %s %s to docker: %w", method, path, err)
	}
	for key, values := range header {
		request.Header[key] = values
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		// The error of net/http repeats the URL, with its query.
		if inner, ok := err.(*url.Error); ok {
			err = inner.Err
		}
		return nil, fmt.Errorf("calling docker (%s %s): %w", method, path, err)
	}
	if response.StatusCode >= 300 {
		defer response.Body.Close()
		return nil, refusal(response)
	}
	return response.Body, nil
}

// refusal reads an error answer, which is {"message": "..."}.
func refusal(response *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<10))
	if err != nil {
		return fmt.Errorf("reading docker's refusal (%s): %w", response.Status, err)
	}
	var answer struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(text, &answer) != nil || answer.Message == "" {
		answer.Message = strings.TrimSpace(response.Status + " " + string(text))
	}
	return &Error{Status: response.StatusCode, Message: answer.Message}
}

// Ping returns nil when the daemon answers.
func (c *Client) Ping(ctx context.Context) error {
	return c.do(ctx, http.MethodGet, "/_ping", nil, nil, nil)
}

// Info is what the daemon says of itself.
type Info struct {
	Driver        string // of its storage
	ServerVersion string
}

// Info asks the daemon about itself.
func (c *Client) Info(ctx context.Context) (Info, error) {
	var info Info
	err := c.do(ctx, http.MethodGet, "/info", nil, nil, &info)
	return info, err
}
