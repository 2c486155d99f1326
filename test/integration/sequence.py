"""A client that writes numbers in order to places all over a disk, and what tells whether a copy of
the disk is as it was at one moment.

  sequence.py write SOCKET STOP    until the file STOP is there; several lanes side by side
  sequence.py check FILE           exits 1 if a lane's numbers are not those of one moment

Each lane writes one number after the other, and waits for the answer before the next: even numbers to
one place, odd ones to the others in turn; each seventh is a zeroing. So whoever knows the newest number
knows what is at every place.
"""
import os
import socket
import struct
import sys
import threading

# While a version is made, most places have their newest number where writes went before, but for the
# one that is written all the time.
LANES, PLACES, BLOCK = 4, 512, 4096


def offset(lane, place):
    return (place * LANES + lane) * BLOCK


def place_of(number):
    return 0 if number % 2 == 0 else 1 + number // 2 % (PLACES - 1)


# The last number up to `newest` that went to this place; not above 0: none.
def last_at(place, newest):
    if place == 0:
        return newest // 2 * 2
    half = (newest - 1) // 2
    return 2 * (half - (half - (place - 1)) % (PLACES - 1)) + 1


def block(number):
    return bytes(BLOCK) if number <= 0 or number % 7 == 0 else struct.pack(">Q", number) * (BLOCK // 8)


def receive(connection, length):
    data = b""
    while len(data) < length:
        part = connection.recv(length - len(data))
        if not part:
            raise EOFError("the disk is gone")
        data += part
    return data


def connect(path):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    receive(connection, 18)
    # Fixed newstyle, no zeroes; NBD_OPT_EXPORT_NAME of the export without a name.
    connection.sendall(struct.pack(">I", 3) + b"IHAVEOPT" + struct.pack(">II", 1, 0))
    receive(connection, 10)
    return connection


def request(connection, command, at, length, data=b""):
    connection.sendall(struct.pack(">IHHQQI", 0x25609513, 0, command, 1, at, length) + data)
    _, error, _ = struct.unpack(">IIQ", receive(connection, 16))
    if error:
        raise OSError(error, "request %d at %d fails" % (command, at))


def write_lane(lane, path, stop):
    write, flush, zeroes = 1, 3, 6
    connection = connect(path)
    number = 0
    while not os.path.exists(stop):
        number += 1
        at = offset(lane, place_of(number))
        if number % 7 == 0:
            request(connection, zeroes, at, BLOCK)
        else:
            request(connection, write, at, BLOCK, block(number))
        if number % 500 == 0:
            request(connection, flush, 0, 0)
    print("lane %d: %d" % (lane, number))


def run_lane(*arguments):
    try:
        write_lane(*arguments)
    except BaseException as error:
        print("lane %d: %s" % (arguments[0], error), file=sys.stderr, flush=True)
        os._exit(1)


def is_moment(blocks, newest):
    return all(blocks[place] == block(last_at(place, newest)) for place in range(PLACES))


def check_lane(copy, lane):
    blocks = []
    for place in range(PLACES):
        copy.seek(offset(lane, place))
        blocks.append(copy.read(BLOCK))
    newest = max(struct.unpack(">Q", one[:8])[0] for one in blocks)
    if any(is_moment(blocks, number) for number in (newest, newest + 1)):
        return newest
    for place in range(PLACES):
        found, expected = blocks[place], last_at(place, newest)
        if found != block(expected):
            at, is_whole = struct.unpack(">Q", found[:8])[0], found == found[:8] * (BLOCK // 8)
            print("lane %d goes to %d, and has %d (whole: %s) instead of %d"
                  % (lane, newest, at, is_whole, expected), file=sys.stderr)
    sys.exit(1)


if sys.argv[1] == "write":
    threads = [threading.Thread(target=run_lane, args=(lane, *sys.argv[2:])) for lane in range(LANES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
else:
    with open(sys.argv[2], "rb") as copy_of_disk:
        print([check_lane(copy_of_disk, lane) for lane in range(LANES)])
