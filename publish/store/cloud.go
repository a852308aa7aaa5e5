package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/aws/smithy-go"
	"golang.org/x/oauth2"
)

// prefixOf is what names in a bucket begin with.
func prefixOf(u *url.URL) string {
	if p := strings.Trim(path.Clean("/"+u.Path), "/"); p != "" {
		return p + "/"
	}
	return ""
}

// Transport has room for parallel uploads, and gives up on servers that accept
// a connection and then say nothing, or stop in the middle.
func Transport() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = stalling((&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext, stallTime)
	t.MaxIdleConnsPerHost = 16
	t.ResponseHeaderTimeout = stallTime
	t.WriteBufferSize, t.ReadBufferSize = 128<<10, 128<<10
	return t
}

// contentType: nothing that a proxy would compress or a browser would guess.
func contentType(name string) string {
	switch path.Ext(name) {
	case ".json":
		return "application/json"
	case ".txt", ".minisig", ".lock":
		return "text/plain; charset=utf-8"
	}
	return "application/octet-stream"
}

// rangeOf is the header of n bytes from off on, "" for all of them.
func rangeOf(off, n int64) string {
	switch {
	case n >= 0:
		return fmt.Sprintf("bytes=%d-%d", off, off+max(n, 1)-1)
	case off > 0:
		return fmt.Sprintf("bytes=%d-", off)
	}
	return ""
}

// explainCloud gives the answers of object stores the names that Store promises.
func explainCloud(name string, err error) error {
	if err == nil {
		return nil
	}
	status, code := answer(err)
	switch {
	case status == http.StatusNotFound:
		return &cloudError{name, err, fs.ErrNotExist}
	case status == http.StatusPreconditionFailed, code == "BlobAlreadyExists":
		return &cloudError{name, err, fs.ErrExist}
	case status == http.StatusForbidden, status == http.StatusUnauthorized:
		return &cloudError{name, err, fs.ErrPermission}
	}
	return &cloudError{name, err, nil}
}

// answer is the HTTP status in an error of one of the libraries, and the
// provider's own code beside it; 0 if there was no answer.
func answer(err error) (status int, code string) {
	var (
		amazon interface{ HTTPStatusCode() int }
		api    smithy.APIError
		azure  *azcore.ResponseError
		token  *oauth2.RetrieveError
		ours   *StatusError
	)
	switch {
	case errors.As(err, &azure):
		return azure.StatusCode, azure.ErrorCode
	case errors.As(err, &token) && token.Response != nil:
		return token.Response.StatusCode, token.ErrorCode
	case errors.As(err, &ours):
		return ours.Code, ""
	case errors.As(err, &amazon):
		if errors.As(err, &api) {
			code = api.ErrorCode()
		}
		return amazon.HTTPStatusCode(), code
	}
	return 0, ""
}

// gone is for Delete: what is not there need not be removed.
func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

type cloudError struct {
	name string
	err  error
	kind error
}

func (e *cloudError) Error() string { return e.name + ": " + e.err.Error() }

func (e *cloudError) Unwrap() []error {
	if e.kind == nil {
		return []error{e.err}
	}
	return []error{e.kind, e.err}
}

// Hint says where credentials come from.
func (e *cloudError) Hint() string {
	text := e.err.Error()
	if errors.Is(e.kind, fs.ErrPermission) || strings.Contains(text, "AccessDenied") || strings.Contains(text, "credential") {
		return "credentials are found as the provider's own tools find them (AWS_PROFILE or ~/.aws, GOOGLE_APPLICATION_CREDENTIALS or gcloud auth application-default login, AZURE_STORAGE_ACCOUNT); they have to allow reading, writing and deleting"
	}
	if strings.Contains(text, "NoSuchBucket") || strings.Contains(text, "ContainerNotFound") {
		return "make the bucket first, or correct its name"
	}
	return ""
}

// cloudTransient judges errors of object stores; known is false for others.
func cloudTransient(err error) (transient, known bool) {
	var ce *cloudError
	if !errors.As(err, &ce) {
		return false, false
	}
	if ce.kind != nil || errors.Is(err, context.Canceled) || errors.Is(err, ErrUnsupported) {
		return false, true
	}
	switch status, code := answer(err); {
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests, code == "ConditionalRequestConflict":
		return true, true
	case status != 0:
		return status >= 500 && status != http.StatusNotImplemented && status != http.StatusInsufficientStorage, true
	}
	text := ce.err.Error()
	lost := strings.Contains(text, "no EC2 IMDS role found") || strings.Contains(text, "failed to refresh cached credentials") ||
		strings.Contains(text, "DefaultAzureCredential") || strings.Contains(text, "could not find default credentials")
	return !lost, true
}
