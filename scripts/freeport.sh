# Sourced by the scripts that start servers on this machine.

# free_port PORT prints PORT if nothing listens on it on loopback, otherwise the next such port.
free_port() {
  local port=$1
  while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do port=$((port + 1)); done
  echo "$port"
}

# report_port WANTED PORT prints a message if PORT is not the usual one.
report_port() { if [ "$1" != "$2" ]; then echo "Port $1 is in use on this machine: $2 is used instead."; fi; }

# listening_port reads the log of a service and prints the port at which it serves http_addr.
listening_port() { sed -n 's/.*"msg":"http.listening","addr":"[^"]*:\([0-9]*\)".*/\1/p' | tail -1; }
