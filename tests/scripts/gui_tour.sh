#!/usr/bin/env bash
# Goes through the desktop application in a real window, by mouse and keyboard, and takes the README's screenshots:
#
#   tests/scripts/gui_tour.sh target/release/odyssey out [STUDY]
#
# starts the demo from an empty home page, watches it live, and opens the finished scatter and a domain's card; with STUDY, the
# folder of a finished study, takes the screenshots of that. Needs Xvfb, xdotool and ImageMagick; DISPLAY_NUMBER if :99 is taken.
set -euo pipefail
odyssey=$(realpath "$1")
out=$2
study=${3:+$(realpath "$3")}
mkdir -p "$out"

export DISPLAY=":${DISPLAY_NUMBER:-99}"
home=$(mktemp -d)
export XDG_DATA_HOME="$home" XDG_RUNTIME_DIR="$home" ODYSSEY_DEVICE="${ODYSSEY_DEVICE:-cpu}"
Xvfb "$DISPLAY" -screen 0 1280x820x24 >/dev/null 2>&1 &
server=$!
application=
finish() {
    [[ -z $application ]] || kill -INT "$application" 2>/dev/null && wait "$application" 2>/dev/null || true
    kill "$server" 2>/dev/null || true
    rm -rf "$home"
}
trap finish EXIT
until xdotool getmouselocation >/dev/null 2>&1; do sleep 0.1; done

start() {
    "$odyssey" -v gui "$@" 2>>"$out/gui.log" &
    application=$!
    window=$(timeout 60 xdotool search --sync --onlyvisible --name '^odyssey$' | head -1)
    xdotool windowmove "$window" 0 0 windowfocus "$window"
    sleep 2
}
keys() { xdotool key --window "$window" --delay 60 "$@"; }
look() {
    xdotool mousemove 640 812 # away from what it would hover over
    sleep 1
    import -window root "$out/$1.png"
    echo "$out/$1.png"
}
end() {
    keys ctrl+q
    wait "$application" || true
    application=
}

if [[ -n $study ]]; then
    start "$study"
    sleep 4
    look scatter
    keys Down Down Down Return
    sleep 8 # what advice would have said takes a while
    look card
    xdotool mousemove 433 192 click 1 # Passages, of a study that is whole
    look passages
    keys Escape
    end
    exit
fi

start
look home
xdotool mousemove 224 84 click 1 # Run the demo
sleep 20
look live
# Once the demo is done its scatter shows itself.
for _ in $(seq 600); do
    sleep 1
    ! find "$home" -name report.html 2>/dev/null | grep -q . || break
done
sleep 3
keys ctrl+3
look demo-scatter
keys Down Return
look demo-card
keys ctrl+1
look home-after
end
