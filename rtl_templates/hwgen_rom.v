// Read-only memory in block RAM: contents from a file, registered address and output.
// Data follow the address two clocks later.
module hwgen_rom #(
  parameter WIDTH = 36,
  parameter DEPTH = 1024,
  parameter FILE  = "contents.mem"
) (
  input  wire clk,
  input  wire [(DEPTH > 1 ? $clog2(DEPTH) : 1) - 1:0] addr,
  output reg  [WIDTH-1:0] data
);
  (* rom_style = "block" *) reg [WIDTH-1:0] mem [0:DEPTH-1];
  reg [WIDTH-1:0] held;
  initial $readmemh(FILE, mem);
  always @(posedge clk) begin
    held <= mem[addr];
    data <= held;
  end
endmodule
