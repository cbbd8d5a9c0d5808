# make alone tells what there is. Everything goes to bin/, which git ignores.

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X main.version=$(VERSION)
PREFIX   ?= /usr
FUZZTIME ?= 10s
TOOL     := go tool -modfile=tools.mod

export CGO_ENABLED := 0

.DEFAULT_GOAL := help
.PHONY: help build test unit lint fuzz bench demo lab-deps cover clean install

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## Build bin/imgbase, one static program
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/imgbase ./cmd/imgbase

test: lab-deps lint ## Everything: lint, unit tests and the lab's virtual machines (root, up to an hour)
	@echo '== all tests; the lab boots virtual machines and may not be skipped'
	IMGBASE_REQUIRE_LAB=1 go test -timeout 55m ./...

unit: ## The tests that need no virtual machine
	go test . ./cmd/... ./internal/...

lint: ## go vet, staticcheck, gofumpt
	@echo '== go vet'
	go vet ./...
	@echo '== staticcheck'
	$(TOOL) staticcheck ./...
	@echo '== gofumpt: lists the files it would change'
	@files=$$($(TOOL) gofumpt -l .) && { test -z "$$files" || { echo "$$files"; exit 1; }; }

fuzz: ## Every fuzz target for FUZZTIME (10s)
	@grep -rHo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' cmd internal | while IFS=: read -r file func; do \
		echo "== $$file $${func#func }"; \
		go test -run '^$$' -fuzz "^$${func#func }$$" -fuzztime $(FUZZTIME) "./$$(dirname $$file)" </dev/null || exit 1; \
	done

bench: lab-deps ## Speed against lvs, dd, tar and rsync, with the goals beside (root)
	go run ./test/bench

demo: lab-deps ## A throw-away host is taken over, updated and rolled back, before your eyes (root)
	go run ./test/demo

lab-deps: ## Install what the lab needs (Debian, root)
	@echo '== programs that the lab needs'
	test/lab/deps.sh

cover: ## Coverage of the unit tests; bin/cover.html shows the lines
	@mkdir -p bin
	go test -coverprofile=bin/cover.out -coverpkg=./internal/... . ./cmd/... ./internal/...
	go tool cover -html=bin/cover.out -o bin/cover.html
	go tool cover -func=bin/cover.out | tail -n 1

clean: ## Remove bin/
	rm -rf bin

install: build ## Install the program below DESTDIR
	install -D -m 0755 bin/imgbase '$(DESTDIR)$(PREFIX)/sbin/imgbase'
