// SPDX-License-Identifier: Apache-2.0
// Backends that come and go without a word from the operator: addresses of DNS names, and files that the configuration
// names.
#include <utility>

#include "daemon/controller.h"

namespace featherlb {

namespace {

constexpr std::chrono::seconds sources_retry{30};

} // namespace

// Names stand for other addresses: a load that asks nobody, and waits for the next hops as each does. Those that are
// gone drain as backends do that left the file. A load under way has answers of its own, but maybe older ones.
void Controller::on_discovered()
{
    if (load_ || !config_) {
        names_changed_ = true;
        return;
    }
    load_ = std::make_unique<Load>();
    load_->of_names = true;
    load_->report.file = options_.config_file;
    load_->config = *config_;
    load_->dns = discovery_.known();
    load_->commit_by = loop_.now() + Ways::patience;
    try_commit();
}

// Of a configuration that holds from now on.
void Controller::follow_sources()
{
    if (load_->of_names)
        return;
    discovery_.follow(*config_, dns_, load_->unresolved);
    FileWatch::Fingerprints files;
    for (const ServiceConfig& service : config_->services) {
        for (const BackendFile& file : service.files)
            files.emplace(file.path, file.fingerprint);
    }
    file_watch_.follow(std::move(files));
}

// What names and files say now cannot be had, or not yet: what held goes on, and it is tried again.
void Controller::retry_sources(const Load& load)
{
    if (load.report.result == LoadReport::Result::ok)
        return;
    if (load.of_names && discovery_.known() != dns_)
        names_retry_ = loop_.after(sources_retry, [this] { on_discovered(); });
    else if (load.of_files)
        files_retry_ = loop_.after(sources_retry, [this] { on_files_changed(); });
}

// What has changed meanwhile.
void Controller::after_load()
{
    if (std::exchange(names_changed_, false) && config_ && discovery_.known() != dns_)
        on_discovered();
    else if (std::exchange(files_changed_, false))
        on_files_changed();
}

// The same configuration with what its files say now: what else has been written into it meanwhile waits for a reload.
void Controller::on_files_changed()
{
    if (load_ || !config_) {
        files_changed_ = true;
        return;
    }
    auto anew = parse_config(*config_->text, config_->file);
    if (!anew) {
        LoadReport report;
        report.file = config_->file;
        report.problems = std::move(anew.error().problems);
        say_errors(report);
        log_.error("a file of backends has changed and is refused: backends stay as they were");
        return;
    }
    log_.info("files of backends are read: one has changed, or could not be carried out before");
    begin_load(Purpose::reload, std::move(*anew), {});
}

} // namespace featherlb
