# Sourced by the scripts that start servers on this machine.

# free_port PORT is PORT if nobody listens there on loopback, else the next one at which nobody does.
free_port() {
  local port=$1
  while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
  echo "$port"
}

# told_port WANTED PORT says that another port was taken than the one people expect.
told_port() { if [ "$1" != "$2" ]; then echo "Port $1 is taken on this machine: $2 is used instead."; fi; }

# listening_port reads the log of a service and prints the port at which it serves http_addr.
listening_port() { sed -n 's/.*"msg":"http.listening","addr":"[^"]*:\([0-9]*\)".*/\1/p' | tail -1; }
