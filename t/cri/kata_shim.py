#!/usr/bin/python3
"""A shim as Kata's is, without a machine in it: for kata.t, which puts it in a folder of its own.

It writes down what it is asked, as JSON lines in `asked` beside it.  Like Kata's it is started the old
way, prints a bare address, has one process for a pod, found by the annotations of the specs, and tells
one pid for all: its machine's, here a sleep.  What a container "runs" is in its spec's process.args:
	exit N		says so, ends at once
	oom		runs out of memory
	keep		can't be deleted, but by the program's own delete
	(else)		runs until it is killed
"""
import base64, json, os, signal, socket, socketserver, struct, subprocess, sys, threading, time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import shim_of_test_pb2 as pb

ID = "io.kubernetes.cri.sandbox-id"
TYPE = "io.kubernetes.cri.container-type"


def note(what, **more):
    with open(f"{HERE}/asked", "a") as f:
        f.write(json.dumps({"what": what, **more}) + "\n")


def spec_of(bundle):
    with open(f"{bundle}/config.json") as f:
        return json.load(f)


def plain(m):
    """A message as JSON; the text of an Any stays one."""
    from google.protobuf import json_format
    d = json_format.MessageToDict(m, preserving_proto_field_name=True)
    for key in "options", "spec", "resources":
        if key in d:
            d[key]["value"] = base64.b64decode(d[key].get("value", "")).decode(errors="replace")
    return d


def frame(stream, kind, data):
    return struct.pack(">IIBB", len(data), stream, kind, 0) + data


def recv(sock, n):
    data = b""
    while len(data) < n:
        more = sock.recv(n - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def publish(topic, any_type, message):
    event = pb.ForwardRequest(envelope=pb.Envelope(namespace="crisp", topic=topic, event=pb.Any(
        type_url=any_type, value=message.SerializeToString())))
    rq = pb.Request(service="containerd.services.events.ttrpc.v1.Events", method="Forward", payload=event.SerializeToString())
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(os.environ["TTRPC_ADDRESS"])
        s.sendall(frame(1, 1, rq.SerializeToString()))
        recv(s, 10)


class Process:
    def __init__(self, rq):
        self.rq, self.ended, self.code, self.started = rq, threading.Event(), 0, False
        self.out = os.open(rq.stdout, os.O_WRONLY) if rq.stdout else -1

    def say(self, text):
        if self.out >= 0:
            os.write(self.out, text.encode())

    def end(self, code):
        if self.ended.is_set():
            return
        self.code, self.at = code, time.time_ns()
        if self.out >= 0:
            os.close(self.out)
        self.out = -1
        self.ended.set()

    def run(self, args):
        self.started = True
        if args[0] == "exit":
            self.say(f"exit {args[1]}\n")
            self.end(int(args[1]))


class Refused(Exception):
    pass


class Shim:
    def __init__(self):
        self.machine = subprocess.Popen(["sleep", "1000000"], stdin=subprocess.DEVNULL)
        self.tasks, self.args = {}, {}

    def find(self, rq):
        key = (rq.id, getattr(rq, "exec_id", ""))
        if key not in self.tasks:
            raise Refused(5, f"no such process: {key}")
        return self.tasks[key]

    def stamp(self, p):
        return pb.Timestamp(seconds=p.at // 10**9, nanos=p.at % 10**9)

    def Create(self, rq):
        self.args[rq.id] = spec_of(rq.bundle)["process"]["args"]
        self.tasks[rq.id, ""] = Process(rq)
        return pb.PidResponse(pid=self.machine.pid)

    def Exec(self, rq):
        self.args[rq.id, rq.exec_id] = json.loads(rq.spec.value)["args"]
        self.tasks[rq.id, rq.exec_id] = Process(rq)

    def Start(self, rq):
        p = self.find(rq)
        args = self.args[(rq.id, rq.exec_id) if rq.exec_id else rq.id]
        if args[0] == "oom":
            publish("/tasks/oom", "containerd.events.TaskOOM", pb.TaskOOM(container_id=rq.id))
            p.end(137)
        p.run(args)
        return pb.PidResponse(pid=self.machine.pid)

    def Wait(self, rq):
        p = self.find(rq)
        p.ended.wait()
        return pb.WaitResponse(exit_status=p.code, exited_at=self.stamp(p))

    def State(self, rq):
        p = self.find(rq)
        status = pb.STOPPED if p.ended.is_set() else pb.RUNNING if p.started else pb.CREATED
        return pb.StateResponse(id=rq.id, pid=self.machine.pid, status=status, exit_status=p.code,
                                exited_at=self.stamp(p) if p.ended.is_set() else None)

    def Kill(self, rq):
        self.find(rq).end(128 + rq.signal)

    def Delete(self, rq):
        p = self.find(rq)
        if not rq.exec_id and self.args[rq.id][0] == "keep":
            del self.tasks[rq.id, ""]
            raise Refused(2, "it is busy")
        p.end(137)
        del self.tasks[rq.id, rq.exec_id]
        return pb.DeleteResponse(exit_status=p.code, exited_at=self.stamp(p))

    def Stats(self, rq):
        self.find(rq)
        m = pb.MetricsV2(pids=pb.PidsStat(current=3), cpu=pb.CPUStatV2(usage_usec=1234567),
                         memory=pb.MemoryStatV2(usage=64 << 20, inactive_file=4 << 20, anon=1 << 20))
        return pb.StatsResponse(stats=pb.Any(type_url="io.containerd.cgroups.v2.Metrics", value=m.SerializeToString()))

    def ResizePty(self, rq):
        self.find(rq)

    CloseIO = Update = Pause = Resume = ResizePty

    def Shutdown(self, rq):
        if not self.tasks:
            self.machine.kill()
            os.unlink(SOCKET)
            os._exit(0)		# with the connection for an answer


TAKES = {"Create": pb.CreateTaskRequest, "Exec": pb.ExecProcessRequest, "Kill": pb.KillRequest, "ResizePty": pb.ResizePtyRequest,
         "CloseIO": pb.CloseIORequest, "Update": pb.UpdateTaskRequest, "Shutdown": pb.ShutdownRequest}


class Connection(socketserver.BaseRequestHandler):
    def handle(self):
        self.lock = threading.Lock()
        try:
            while True:
                length, stream, _, _ = struct.unpack(">IIBB", recv(self.request, 10))
                rq = pb.Request.FromString(recv(self.request, length))
                threading.Thread(target=self.answer, args=(stream, rq), daemon=True).start()
        except (EOFError, OSError):
            pass

    def answer(self, stream, rq):
        response = pb.Response()
        message = TAKES.get(rq.method, pb.ProcessRequest).FromString(rq.payload)
        if rq.method not in ("Wait", "State"):
            note(rq.method, service=rq.service, **plain(message))
        try:
            if rq.service != "containerd.task.v2.Task":
                raise Refused(12, f"service {rq.service}")
            result = getattr(shim, rq.method)(message)
            response.payload = result.SerializeToString() if result else b""
        except Refused as e:
            response.status.code, response.status.message = e.args
        with self.lock:
            try:
                self.request.sendall(frame(stream, 2, response.SerializeToString()))
            except OSError:
                pass


def serve(server):
    global shim
    os.setsid()
    for fd in 0, 1, 2:
        os.dup2(os.open("/dev/null", os.O_RDWR), fd)
    shim = Shim()
    server.daemon_threads = True
    server.serve_forever()


def start(argv):
    global SOCKET
    bundle = os.getcwd()
    spec = spec_of(bundle)
    SOCKET = f"{HERE}/{spec['annotations'][ID][:16]}.sock"
    note("start", argv=argv[1:], bundle=bundle, spec=spec, mounts=os.readlink("/proc/self/ns/mnt"))
    if spec["annotations"][TYPE] == "sandbox":
        server = socketserver.ThreadingUnixStreamServer(SOCKET, Connection)
        if os.fork() == 0:
            serve(server)
    print(f"unix://{SOCKET}", end="")


def main(argv):
    if "-v" in argv:
        print("Kata Containers containerd shim (Golang): id: \"io.containerd.kata.v2\", version: 0.0.1, commit: none")
    elif argv[-1] == "start":
        start(argv)
    elif argv[-1] == "delete":
        note("delete", argv=argv[1:])
        sys.stdout.buffer.write(pb.DeleteResponse(exit_status=137).SerializeToString())


main(sys.argv)
