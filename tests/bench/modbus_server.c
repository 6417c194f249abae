/* A fast Modbus TCP server for measurements: every unit id answers on every loopback address, each register holds its own address.
   Build: cc -O2 modbus_server.c -o modbus_server $(pkg-config --cflags --libs libmodbus) */
#include <modbus/modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

int main(int argc, char **argv) {
    modbus_t *context = modbus_new_tcp("0.0.0.0", argc > 1 ? atoi(argv[1]) : 1502);
    modbus_mapping_t *registers = modbus_mapping_new(2000, 2000, 10000, 10000);
    for (int i = 0; i < 10000; i++) registers->tab_registers[i] = registers->tab_input_registers[i] = i;
    int listener = modbus_tcp_listen(context, 128), poller = epoll_create1(0);
    if (listener < 0) return perror("listen"), 1;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[64];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    puts("ready");
    fflush(stdout);
    for (;;) {
        int count = epoll_wait(poller, ready, 64, -1);
        for (int i = 0; i < count; i++) {
            int socket = ready[i].data.fd;
            if (socket == listener) {
                int server = listener, client = modbus_tcp_accept(context, &server);
                event.data.fd = client;
                if (client >= 0) epoll_ctl(poller, EPOLL_CTL_ADD, client, &event);
                continue;
            }
            uint8_t request[MODBUS_TCP_MAX_ADU_LENGTH];
            modbus_set_socket(context, socket);
            int length = modbus_receive(context, request);
            if (length > 0) modbus_reply(context, request, length, registers);
            else if (length < 0) close(socket);
        }
    }
}
