// Streams a file of raw patterns, one after the other in C order, to a ptylive server (docs/senders.md).
//
//     stream_file scan.raw --scan 64,64 --detector 256,256 --type '<u2' --energy_eV 300e3 --step_A 0.4
//
// --order backward or shuffled sends the rows in another order; --rate is in frames per second. The file holds all
// frames of the acquisition: those of --skip_first, --repeats and --flyback_frames too. Exit status: 0 all of it is on
// the server's disk, 1 it is not (one line says why), 2 the command line is wrong.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "ptylive_sender.hpp"

namespace {

using Arguments = std::map<std::string, std::string>;

const Arguments defaults{
    {"scan", ""},      {"detector", ""}, {"type", "<u2"},    {"series", "file"}, {"uid", ""},
    {"to", "tcp://127.0.0.1:9999"},      {"control", "tcp://127.0.0.1:9998"},    {"keys", ""},
    {"step_A", ""},    {"energy_eV", ""}, {"convergence_semiangle_mrad", ""},    {"rotation_deg", ""},
    {"pixel_mrad", ""}, {"order", "forward"}, {"rate", "0"},  {"wait_s", "30"},  {"pattern", "raster"},
    {"flyback_frames", "0"},              {"skip_first", "0"}, {"repeats", "1"},    {"resend_s", "1"},
};

// Whether all arguments are known; one that is not is told.
bool parsed(int count, char** words, Arguments& arguments) {
  arguments = defaults;
  for (int k = 2; k < count; k += 2) {
    const std::string name = words[k];
    if (name.substr(0, 2) != "--" || defaults.count(name.substr(2)) == 0 || k + 1 == count) {
      std::cerr << "stream_file: " << name << " is no option, or lacks its value\n";
      return false;
    }
    arguments[name.substr(2)] = words[k + 1];
  }
  return count > 1;
}

std::uint32_t whole(const std::string& words) {
  return static_cast<std::uint32_t>(std::strtoul(words.c_str(), nullptr, 10));
}

// "64,48" as two numbers; the second is 0 where there is none.
void pair_of(const std::string& words, std::uint32_t& first, std::uint32_t& second) {
  const auto comma = words.find(',');
  first = whole(words);
  second = comma == std::string::npos ? 0 : whole(words.substr(comma + 1));
}

ptylive::Scan scan_of(const Arguments& arguments) {
  ptylive::Scan scan;
  pair_of(arguments.at("scan"), scan.rows, scan.columns);
  pair_of(arguments.at("detector"), scan.detector_rows, scan.detector_columns);
  scan.dtype = arguments.at("type");
  scan.series = arguments.at("series");
  scan.uid = arguments.at("uid");
  scan.pattern = arguments.at("pattern");
  scan.flyback_frames = whole(arguments.at("flyback_frames"));
  scan.skip_first = whole(arguments.at("skip_first"));
  scan.repeats = whole(arguments.at("repeats"));
  const auto give = [&](ptylive::Metadata& section, const std::string& name) {
    if (!arguments.at(name).empty()) section.emplace(name, std::strtod(arguments.at(name).c_str(), nullptr));
  };
  give(scan.scan, "step_A");
  give(scan.scan, "rotation_deg");
  give(scan.optics, "energy_eV");
  give(scan.optics, "convergence_semiangle_mrad");
  give(scan.detector, "pixel_mrad");
  return scan;
}

using Pieces = std::vector<std::pair<std::uint64_t, std::uint64_t>>;

// First frame and number of frames of what is sent at once: the rows, and what comes before them.
Pieces pieces_of(const ptylive::Scan& scan, const std::string& order) {
  Pieces pieces;
  if (scan.skip_first > 0) pieces.emplace_back(0, scan.skip_first);
  for (std::uint64_t first = scan.skip_first; first < scan.frames(); first += scan.frames_per_row())
    pieces.emplace_back(first, scan.frames_per_row());
  if (order == "backward") std::reverse(pieces.begin(), pieces.end());
  if (order == "shuffled") std::shuffle(pieces.begin(), pieces.end(), std::mt19937(1));
  return pieces;
}

int failed(const std::string& why) {
  std::cerr << "stream_file: " << why << '\n';
  return 1;
}

int stream(const std::string& path, const Arguments& arguments) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return failed("cannot read " + path);
  const ptylive::Scan scan = scan_of(arguments);
  const std::uint64_t size = static_cast<std::uint64_t>(file.tellg());
  if (size == 0 || scan.frame_bytes() == 0 || size / scan.frame_bytes() != scan.frames() ||
      size % scan.frame_bytes() != 0)
    return failed(path + " has " + std::to_string(size) + " bytes, not " + std::to_string(scan.frames()) +
                  " patterns of " + std::to_string(scan.frame_bytes()) + ": look at --scan, --detector and --type");

  ptylive::Options options;
  options.first_s = options.away_s = options.safe_s = std::strtod(arguments.at("wait_s").c_str(), nullptr);
  options.resend_s = std::strtod(arguments.at("resend_s").c_str(), nullptr);
  options.keys = arguments.at("keys");
  ptylive::Sender sender(arguments.at("to"), arguments.at("control"), options);
  if (!sender.open(scan)) return failed(sender.error());
  const double rate = std::strtod(arguments.at("rate").c_str(), nullptr);
  const auto started = std::chrono::steady_clock::now();
  double due_s = 0;
  std::vector<char> patterns;
  for (const auto& [first, count] : pieces_of(scan, arguments.at("order"))) {
    patterns.resize(count * scan.frame_bytes());
    file.seekg(static_cast<std::streamoff>(first * scan.frame_bytes()));
    if (!file.read(patterns.data(), static_cast<std::streamsize>(patterns.size())))
      return failed("cannot read " + path);
    if (!sender.send(first, count, patterns.data())) return failed(sender.error());
    if (rate > 0) due_s += static_cast<double>(count) / rate;
    const std::chrono::duration<double> gone = std::chrono::steady_clock::now() - started;
    if (due_s > gone.count() && !sender.idle(due_s - gone.count())) return failed(sender.error());
  }
  if (!sender.close()) return failed(sender.error());
  std::cout << scan.frames() << " frames as " << sender.uid() << ", " << sender.frames_resent() << " sent again\n";
  return 0;
}

}  // namespace

int main(int count, char** words) {
  Arguments arguments;
  if (!parsed(count, words, arguments)) {
    std::cerr << "usage: stream_file FILE --scan ROWS,COLUMNS --detector ROWS,COLUMNS [--type '<u2'] [--to ADDRESS]\n"
                 "       [--control ADDRESS] [--energy_eV …] [--convergence_semiangle_mrad …] [--step_A …]\n";
    return 2;
  }
  return stream(words[1], arguments);
}
