# A client of RDP over TLS: as far as the login and the first screen. Arguments: port, domain, name, password.
import socket, ssl, struct, sys

port, domain, user, password = int(sys.argv[1]), *(word.encode("utf-16le") for word in sys.argv[2:5])


def tpkt(body):
    return b"\3\0" + struct.pack(">H", len(body) + 4) + body


def data(body):
    return tpkt(b"\2\xf0\x80" + body)


def ber(tag, body):
    return tag + (bytes([len(body)]) if len(body) < 128 else b"\x82" + struct.pack(">H", len(body))) + body


def numbers(*values):
    return ber(b"\x30", b"".join(ber(b"\2", value) for value in values))


def exactly(n):
    got = b""
    while len(got) < n:
        more = stream.recv(n - len(got))
        if not more:
            sys.exit("closed")
        got += more
    return got


def packet():
    head = exactly(4)
    assert head[0] == 3, head
    return head + exactly(struct.unpack(">H", head[2:])[0] - 4)


stream = socket.create_connection(("127.0.0.1", port), 30)
wish = b"Cookie: mstshash=bob\r\n\1\0\x08\0" + struct.pack("<I", 1)
stream.sendall(tpkt(bytes([6 + len(wish), 0xE0, 0, 0, 0, 0, 0]) + wish))
assert packet()[11:] == b"\2\1\x08\0\1\0\0\0"
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
stream = context.wrap_socket(stream)
print("tls")

core = struct.pack("<IHHHHII", 0x80004, 1024, 768, 0xCA01, 0xAA03, 0x409, 2600)
core += "EVILBOX".encode("utf-16le").ljust(32, b"\0") + struct.pack("<III", 4, 0, 12) + b"\0" * 64
core += struct.pack("<HHIHHH", 0xCA01, 1, 0, 24, 7, 1) + b"\0" * 64 + struct.pack("<BBI", 0, 0, 1)
blocks = b"\1\xc0" + struct.pack("<H", len(core) + 4) + core
blocks += b"\4\xc0\x0c\0\x09\0\0\0\0\0\0\0" + b"\2\xc0\x0c\0" + b"\0" * 8
blocks += b"\3\xc0" + struct.pack("<HI", 20, 1) + b"rdpdr\0\0\0\0\0\x80\x80"
conference = b"\0\5\0\x14\x7c\0\1" + struct.pack(">H", 0x8000 | (len(blocks) + 14))
conference += b"\0\x08\0\x10\0\1\xc0\0Duca" + struct.pack(">H", 0x8000 | len(blocks)) + blocks
connect = ber(b"\4", b"\1") + ber(b"\4", b"\1") + ber(b"\1", b"\xff")
connect += numbers(b"\x22", b"\2", b"\0", b"\1", b"\0", b"\1", b"\xff\xff", b"\2")
connect += numbers(b"\1", b"\1", b"\1", b"\1", b"\0", b"\1", b"\4\x20", b"\2")
connect += numbers(b"\xff\xff", b"\xfc\x17", b"\xff\xff", b"\1", b"\0", b"\1", b"\xff\xff", b"\2")
connect += ber(b"\4", conference)
stream.sendall(data(b"\x7f\x65\x82" + struct.pack(">H", len(connect)) + connect))
assert b"McDn" in packet()
print("connected")

stream.sendall(data(b"\x04\1\0\1\0") + data(b"\x28"))
number = struct.unpack(">H", packet()[9:11])[0]
for channel in (number + 1001, 1003, 1004):
    stream.sendall(data(b"\x38" + struct.pack(">HH", number, channel)))
    assert packet()[7:8] == b"\x3e"
print("joined")


def send(body):
    stream.sendall(data(b"\x64" + struct.pack(">HH", number, 1003) + b"\x70" + struct.pack(">H", 0x8000 | len(body)) + body))


info = struct.pack("<IIHHHHH", 0, 0x3B, len(domain), len(user), len(password), 0, 0)
info += domain + b"\0\0" + user + b"\0\0" + password + b"\0\0" + b"\0\0" + b"\0\0"
send(b"\x40\0\0\0" + info)
assert "Microsoft Corporation".encode("utf-16le") in packet()
send(b"\x80\0\0\0\x13\x83" + struct.pack("<H", 60) + b"\0" * 56)
packet()
print("licence")
assert b"RDP\0" in packet()
print("active")
