// The small services of the exercise whose protocol the packets are: a distributor and a service `logs`, written as its
// public copies are (text per chunk, split at the sign), but for the half packet, which is forgotten once it was used.
//
//   node packets.js distributor PORT
//   node packets.js logs PORT FILE [DISTRIBUTOR]
'use strict';
const fs = require('fs');
const net = require('net');

class Server {
  constructor(port) {
    this.merge = {};
    this.server = net.createServer((socket) => {
      const key = socket.remoteAddress + ':' + socket.remotePort;
      this.onCreate(socket, key);
      socket.on('error', () => {});
      socket.on('close', () => this.onClose(socket, key));
      socket.on('data', (data) => {
        const text = (this.merge[key] || '') + data.toString();
        this.merge[key] = '';
        const parts = text.split('¶');
        for (let n = 0; n < parts.length; n++) {
          if (n === parts.length - 1) this.merge[key] = parts[n];
          else if (parts[n] !== '') this.onRead(socket, key, JSON.parse(parts[n]));
        }
      });
    });
    this.server.listen(port, '127.0.0.1');
  }
  onCreate() {}
  onClose() {}
}

class Distributor extends Server {
  constructor(port) {
    super(port);
    this.map = {};
  }
  onCreate(socket) {
    this.tell(socket);
  }
  onClose(socket, key) {
    delete this.map[key];
    this.tell();
  }
  onRead(socket, key, packet) {
    if (packet.uri === '/distributes' && packet.method === 'POST') {
      this.map[key] = { socket, info: { ...packet.params, host: socket.remoteAddress } };
      this.tell();
    }
  }
  tell(socket) {
    const params = Object.values(this.map).map((one) => one.info);
    const packet = JSON.stringify({ uri: '/distributes', method: 'GET', key: 0, params }) + '¶';
    if (socket) socket.write(packet);
    else Object.values(this.map).forEach((one) => one.socket.write(packet));
  }
}

class Logs extends Server {
  constructor(port, file, distributor) {
    super(port);
    this.file = file;
    if (distributor) this.register(port, distributor);
  }
  register(port, distributor) {
    const socket = net.connect(distributor, '127.0.0.1', () => {
      const params = { port, name: 'logs', urls: ['POST/logs'] };
      socket.write(JSON.stringify({ uri: '/distributes', method: 'POST', key: 0, params }) + '¶');
    });
    socket.on('error', () => {});
    socket.on('close', () => setTimeout(() => this.register(port, distributor), 300));
    socket.resume();
  }
  onRead(socket, key, packet) {
    if (packet.uri === '/logs' && packet.method === 'POST') fs.appendFileSync(this.file, JSON.stringify(packet.params) + '\n');
  }
}

const [kind, port, file, distributor] = process.argv.slice(2);
if (kind === 'distributor') new Distributor(Number(port));
else new Logs(Number(port), file, Number(distributor));
